"""Boxes and landmarks of the faces in photographs."""
