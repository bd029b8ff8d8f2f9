"""What the promises of docs/reliability.md are measured by, each with its own command and its own numbers in results/.

- `kills`: training that is killed, stopped, or robbed of its disk, and goes on bit for bit
- `inputs`: files, command lines and arrays that somebody has broken
- `mutations`: the package's own lines, one changed at a time: do the tests and the check table see it?
- `threads`: one network in many threads and processes, and interrupts
- `versions`: the tests with the oldest and the newest packages that setup.cfg allows
"""
