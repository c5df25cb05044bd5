"""The embedded data set: scenes, their language, and a judge of what is said of them."""
