"""The method: neuron, chain rule, layers, losses, network. Nothing here knows how the numbers are made fast.

Read in this order: `parameters`, `terms`, `trace`, `reference`, `sweeps`, `layers`, `losses`, `backpropagation`,
`network`, `reference_network`, `constants`.
"""
