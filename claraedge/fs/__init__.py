"""Files and trees on the disk: the one way to read, write, move and remove them.

What others made (droppers, operators, images) is reached by descriptors below a folder that is
opened once, and no link in it is followed. What is written is durable before it counts.
"""
