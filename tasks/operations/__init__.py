"""What scheduled flows do: pages brought up to date, events taken, dead runs found, retries started."""
