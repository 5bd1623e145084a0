"""Files and trees on the disk: the only way to read, write, move and remove them.

What others created (droppers, operators, images) is accessed by descriptors below a folder that is
opened once, and no link in it is followed. What is written is durable before it is relied on.
"""
