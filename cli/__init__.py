"""What the doors do with the rooms: each module is one command or a part of one."""
