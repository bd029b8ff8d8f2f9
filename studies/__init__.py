"""Studies that a claim of this project rests on: each a script that anyone can run again, with its numbers in results/.

They import `tsslbp_ref`, which never imports them.
"""
