"""What `/metrics` shows: counts kept in memory, and figures read when somebody asks.

Nothing here works between two requests. Labels have bounded values: no ids, and no names that users
or clients choose.
"""
