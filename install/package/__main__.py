"""python -m fast_style_transfer: the same as the command fast-style-transfer."""

from fast_style_transfer.command import main

if __name__ == "__main__":
    main()
