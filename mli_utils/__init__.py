"""Training and interpolation behind the executable paper; the book shows what each name is for.

The names are in `__init__.pyi`. They are imported when first used, so the command line need not load torch to say that
nothing has changed.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
