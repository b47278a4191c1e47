"""Training and interpolation behind the executable paper; the book shows what each name is for.

The names are in `__init__.pyi`. They are imported when first used, so the command line need not load torch to say that
nothing has changed.
"""

import lazy_loader

__version__ = "0.1.0"
_load, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str):
    if name not in __all__:
        raise AttributeError(f"mli_utils has no {name!r}; it has {', '.join(__all__)}")
    return _load(name)
