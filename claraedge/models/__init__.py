"""The model repository: models in the layout of the Triton inference server, and sets of them.

Catalogs and instances are both named by an id and hold models; neither loads anything. An instance
is what an inference server will be given to load, once this version of the platform runs one.
"""
