"""Synthetic AU-labelled faces: the ICT-FaceKit head fitted to portraits, textured with the photo, driven by AUs, re-
lit and rasterised.
"""
