a, b = Client("a"), Client("b")

a.query("load 'auto_explain'")
a.query("show auto_explain.log_min_duration")
b.query("begin")  # takes the server connection that has it
error = a.fails(a.query, "show auto_explain.log_min_duration")
seen(error is not None and error.code == "42704", "client a's next transaction runs where the library is not loaded")
