"""The same numbers in less time: nothing here is TSSL-BP."""
