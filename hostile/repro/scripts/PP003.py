a, b, c = Client("a"), Client("b"), Client("c")

a.parse("s1", "select 'the answer for a'")
a.sync()


def make():
    b.parse("s1", "select 'the answer for b'")
    b.sync()


error = b.fails(make)

rows = []


def use():  # c made a statement of this name as well, on another server connection
    global rows
    c.bind("s1")
    c.execute()
    rows = c.sync()


c.fails(use)
seen(error is not None and error.code == "42P05" and rows == [("the answer for a",)], "client b cannot make its statement, and client c executed client a's")
