"""MAE (Logan, Humeau, Singh 2017) as an extraction task: `mae` is the plug-in, over the release's own files.

`files` reads arrays that fit into no memory, `products` what one object of them says, `cutting` how much of a text is
kept. The matching itself is that of `avebench.data.reading`.
"""
