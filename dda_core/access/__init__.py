"""What a run may do in AWS, and whether it may: checked before anything is made."""
