"""The model repository: models in the layout of the Triton inference server, and sets of them.

Catalogs and instances are both sets of models with an id; neither loads anything. An instance is
what an inference server will be given to load, once this version of the platform runs one.
"""
