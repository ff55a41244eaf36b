a, b = Client("a"), Client("b")

before = b.query("select current_user")
a.query({{py .Statement}})
after = b.query("select current_user")
seen(after != before, "client b works with the role that client a took")
