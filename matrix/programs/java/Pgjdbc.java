import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.Map;

/** pgjdbc: each client is a thread with a connection of its own, which keeps its prepared statements. */
class Pgjdbc {
    static boolean recipe;

    static class Wrong extends RuntimeException {
        Wrong(String text) {
            super(text);
        }
    }

    static synchronized void say(String outcome, String text) {
        text = text.replaceAll("\\s+", " ");
        System.out.println((outcome + " " + text.substring(0, Math.min(300, text.length()))).trim());
    }

    static void expect(String what, String got, String want) {
        if (!want.equals(got)) {
            throw new Wrong(what + " is " + got + ", not " + want);
        }
    }

    final int client;
    final String tenant;
    Connection c;
    final Map<String, PreparedStatement> prepared = new HashMap<>();

    Pgjdbc(int client) {
        this.client = client;
        this.tenant = "tenant " + client;
    }

    /** ask returns the first row, its columns joined by "|"; null where there is none. */
    String ask(String sql, Object... values) throws SQLException {
        PreparedStatement q = prepared.get(sql);
        if (q == null) {
            q = c.prepareStatement(sql);
            prepared.put(sql, q);
        }
        for (int i = 0; i < values.length; i++) {
            q.setObject(i + 1, values[i]);
        }
        if (!q.execute()) {
            return null;
        }
        try (var rows = q.getResultSet()) {
            if (!rows.next()) {
                return null;
            }
            var row = new ArrayList<String>();
            for (int i = 1; i <= rows.getMetaData().getColumnCount(); i++) {
                row.add(rows.getString(i));
            }
            return String.join("|", row.stream().map(String::valueOf).toList());
        }
    }

    void statements(int n) throws SQLException {
        int id = client + 16 * (n % 10);
        String op = client + "." + n;
        String value = "value " + op;
        for (int i = 0; i < 2; i++) {
            // Every other client asks in the other order, as an application's requests do.
            if ((i + client) % 2 == 0) {
                expect("the name of item " + id, ask("select name from items where id = ?", id), "item " + id);
            } else {
                expect("the tenant of item " + id, ask("select tenant from items where id = ?", id), tenant);
            }
        }
        ask("insert into written (tenant, op, value) values (?, ?, ?)", tenant, op, value);
        expect("what was written", ask("select value from written where tenant = ? and op = ?", tenant, op), value);
    }

    void settings(int n) throws SQLException {
        if (!recipe) {
            try (var s = c.createStatement()) {
                s.execute("SET app.tenant TO '" + tenant + "'");
            }
            scoped(n);
            return;
        }
        c.setAutoCommit(false);
        try {
            ask("select set_config('app.tenant', ?, true)", tenant);
            scoped(n);
            c.commit();
        } catch (SQLException | Wrong e) {
            c.rollback();
            throw e;
        } finally {
            c.setAutoCommit(true);
        }
    }

    void scoped(int n) throws SQLException {
        String op = client + "." + n;
        String value = "value " + op;
        expect("what it sees of documents", ask("select count(*), min(tenant), max(tenant) from documents"), "10|" + tenant + "|" + tenant);
        ask("insert into notes (op, value) values (?, ?)", op, value);
        expect("what was written", ask("select tenant, value from notes where op = ?", op), tenant + "|" + value);
        expect("the setting", ask("select current_setting('app.tenant', true)"), tenant);
    }

    void run(String work, String url, int operations) {
        boolean failed = true;
        for (int n = 0; n < operations; n++) {
            try {
                if (c == null || failed && c.isClosed()) {
                    prepared.clear();
                    c = DriverManager.getConnection(url);
                }
                failed = false;
                if (work.equals("statements")) {
                    statements(n);
                } else {
                    settings(n);
                }
                say("right", "");
            } catch (Wrong e) {
                say("wrong", e.getMessage());
            } catch (SQLException e) {
                failed = true;
                say("error", String.valueOf(e.getMessage()));
            }
        }
    }

    static int number(String name) {
        return Integer.parseInt(System.getenv(name));
    }

    public static void main(String[] args) throws Exception {
        Class.forName("org.postgresql.Driver");
        recipe = args[1].equals("recipe");
        say("version", org.postgresql.util.DriverInfo.DRIVER_VERSION);
        String url = System.getenv("JDBC_URL") + (recipe ? "&prepareThreshold=0" : "");
        var threads = new ArrayList<Thread>();
        for (int i = 0; i < number("CLIENTS"); i++) {
            int client = number("FIRST") + i;
            var t = new Thread(() -> new Pgjdbc(client).run(args[0], url, number("OPERATIONS")));
            t.start();
            threads.add(t);
        }
        for (var t : threads) {
            t.join();
        }
    }
}
