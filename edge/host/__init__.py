"""What stands under everything: the machine, its clock, the log, durable files, typed settings files. It
may import errors alone.
"""
