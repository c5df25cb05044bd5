"""The embedded data set: scenes of coloured shapes, their language, and a judge of captions."""
