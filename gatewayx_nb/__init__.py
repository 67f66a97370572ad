"""Language models in the next notebook cell: drop in a key or an engine file, no code, no restart.

    import gatewayx_nb as gx
    gx.ask("Why is the sky blue?", model="local")

Names come on first use, so that the import costs nothing: no IPython, no HTTP, no file, no socket.
"""
