"""AWS IoT Greengrass components: the recipe, the versions of a component, and the core devices that have them."""
