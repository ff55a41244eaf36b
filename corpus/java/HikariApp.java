import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.sql.Connection;
import java.sql.SQLException;

/** HikariCP on pgjdbc with its defaults, with a read-only or an isolated connection, and with settings that fit a pooler. */
class HikariApp {
    public static void main(String[] args) throws SQLException {
        String form = args[0];
        var config = new HikariConfig();
        config.setJdbcUrl(System.getenv("JDBC_URL"));
        config.setMaximumPoolSize(1);
        if (form.equals("readonly")) {
            config.setReadOnly(true);
            config.addDataSourceProperty("readOnlyMode", "always");
        }
        if (form.equals("isolation")) {
            config.setTransactionIsolation("TRANSACTION_SERIALIZABLE");
        }
        if (!form.equals("default")) {
            config.addDataSourceProperty("prepareThreshold", "0");
        }
        if (form.equals("correct")) {
            config.setAutoCommit(false);
        }
        int faults = 0;
        try (var pool = new HikariDataSource(config)) {
            for (int n = 1; n <= 12; n++) {
                try (Connection c = pool.getConnection()) {
                    if (form.equals("correct")) {
                        c.setReadOnly(true); // pgjdbc says it with BEGIN
                        try (var s = c.createStatement()) {
                            s.execute("set transaction isolation level serializable");
                        }
                    }
                    faults += ask(c, n);
                    if (form.equals("correct")) {
                        c.commit();
                    }
                }
            }
        }
        System.exit(faults > 0 ? 1 : 0);
    }

    static int ask(Connection c, int n) {
        try (var s = c.prepareStatement("select name from item where id = ?")) {
            s.setInt(1, n);
            try (var rows = s.executeQuery()) {
                rows.next();
                if (rows.getString(1).equals("item " + n)) {
                    return 0;
                }
                System.out.println("wrong: item " + n + " is " + rows.getString(1));
            }
        } catch (SQLException e) {
            System.out.println("wrong: item " + n + " is " + e.getMessage());
        }
        return 1;
    }
}
