"""AWS IoT Greengrass components: recipes, component versions, and the core devices that have them."""
