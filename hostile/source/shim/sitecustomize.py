"""Reports where SQL is sent from: see doc.go of poolproof's hostile/source.

Python loads this file by its name at the start of every program whose
PYTHONPATH holds its folder. One that would have been loaded instead is loaded
first.
"""

import sys


def _chain():
    import importlib.machinery
    import importlib.util
    import os

    here = os.path.dirname(os.path.abspath(__file__))
    paths = [p for p in sys.path if os.path.abspath(p or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", paths)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


def _install():
    import functools
    import importlib.machinery
    import json
    import os
    import sysconfig

    calls = os.environ.get("POOLPROOF_CALLS")
    if not calls:
        return
    library = tuple(
        os.path.join(p, "")
        for name, p in sysconfig.get_paths().items()
        if name in ("stdlib", "platstdlib", "purelib", "platlib")
    )
    own = {}  # file name -> is it the program's own?
    seen = set()
    out = []  # the file, once it is open

    def is_own(name):
        known = own.get(name)
        if known is None:
            path = os.path.abspath(name)
            known = own[name] = not (
                name.startswith("<")
                or path.startswith(library)
                or "/site-packages/" in path
                or "/dist-packages/" in path
                or path == os.path.abspath(__file__)
            )
        return known

    packages = {}  # file name -> the top package that it belongs to, or None

    def package_of(name):
        if name not in packages:
            path = os.path.abspath(name)
            packages[name] = None
            for folder in ("/site-packages/", "/dist-packages/"):
                before, found, after = path.rpartition(folder)
                if found:
                    packages[name] = after.split("/")[0].removesuffix(".py")
        return packages[name]

    def caller():
        """The program's file and line, if it is on the stack, and the packages on the way."""
        frame = sys._getframe(2)
        via = []
        while frame is not None:
            name = frame.f_code.co_filename
            if is_own(name):
                return os.path.abspath(name), frame.f_lineno, via
            package = package_of(name)
            if package and package not in via:
                via.append(package)
            frame = frame.f_back
        return ("", 0, via) if via else None

    def note(driver, sql, where):
        try:
            if where is None or sql is None:
                return
            if isinstance(sql, (bytes, bytearray, memoryview)):
                sql = bytes(sql).decode("utf-8", "replace")
            if not isinstance(sql, str):
                return
            sql = sql[:4000]
            key = (sql, where[0], where[1], tuple(where[2]))
            if key in seen or len(seen) > 20000:
                return
            seen.add(key)
            if not out:
                out.append(os.open(calls, os.O_WRONLY | os.O_APPEND))
            line = json.dumps({"sql": sql, "file": where[0], "line": where[1], "via": [driver, *where[2]]})
            os.write(out[0], line.encode() + b"\n")
        except Exception:
            pass  # the program must not notice

    def psycopg_queries(module):
        def patch(cls):
            real = cls.__dict__.get("convert")
            if real is None:
                return

            @functools.wraps(real)
            def convert(self, query, vars):
                real(self, query, vars)
                note("psycopg", self.query, caller())

            cls.convert = convert

        for name in ("PostgresQuery", "PostgresClientQuery"):
            if hasattr(module, name):
                patch(getattr(module, name))

    def noting(base):
        """A cursor class of psycopg2 that notes what it sent."""

        class Cursor(base):
            def execute(self, *args, **kwargs):
                where = caller()
                try:
                    return super().execute(*args, **kwargs)
                finally:
                    note("psycopg2", self.query, where)

        Cursor.__name__, Cursor.__qualname__, Cursor.__module__ = base.__name__, base.__qualname__, base.__module__
        return Cursor

    noting = functools.lru_cache(maxsize=None)(noting)

    def psycopg2(module):
        real = module.connect
        plain = module.extensions.connection

        @functools.wraps(real)
        def connect(*args, **kwargs):
            conn = real(*args, **kwargs)
            try:
                factory = conn.cursor_factory or module.extensions.cursor
                if type(conn) is plain and isinstance(factory, type):
                    conn.cursor_factory = noting(factory)
            except Exception:
                pass
            return conn

        module.connect = connect

    def psycopg2_extras(module):
        for name in ("DictCursor", "RealDictCursor", "NamedTupleCursor"):
            cls = getattr(module, name, None)
            if cls is None or "execute" not in cls.__dict__:
                continue

            def patch(cls=cls, real=cls.__dict__["execute"]):
                @functools.wraps(real)
                def execute(self, *args, **kwargs):
                    where = caller()
                    try:
                        return real(self, *args, **kwargs)
                    finally:
                        note("psycopg2", self.query, where)

                cls.execute = execute

            patch()

    def asyncpg_connection(module):
        for name in ("execute", "_get_statement"):
            real = module.Connection.__dict__.get(name)
            if real is None:
                continue

            def patch(name=name, real=real):
                @functools.wraps(real)
                async def wrapper(self, query, *args, **kwargs):
                    note("asyncpg", query, caller())
                    return await real(self, query, *args, **kwargs)

                setattr(module.Connection, name, wrapper)

            patch()

    patches = {
        "psycopg._queries": psycopg_queries,
        "psycopg2": psycopg2,
        "psycopg2.extras": psycopg2_extras,
        "asyncpg.connection": asyncpg_connection,
    }

    class Finder:
        """Finds the drivers' modules as all others are, and patches them."""

        @staticmethod
        def find_spec(name, path=None, target=None):
            patch = patches.get(name)
            if patch is None:
                return None
            for finder in sys.meta_path:
                find = getattr(finder, "find_spec", None)
                if finder is Finder or find is None:
                    continue
                spec = find(name, path, target)
                if spec is not None:
                    break
            else:
                return None
            exec_module = getattr(spec.loader, "exec_module", None)
            if exec_module is None:
                return spec

            def execute(module):
                exec_module(module)
                try:
                    patch(module)
                except Exception:
                    pass

            try:
                spec.loader.exec_module = execute
            except Exception:
                pass
            return spec

    sys.meta_path.insert(0, Finder)


try:
    _install()
except Exception:
    pass
_chain()
