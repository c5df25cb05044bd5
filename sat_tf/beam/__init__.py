"""Bulk work on Apache Beam: captions and features of many images by many workers."""
