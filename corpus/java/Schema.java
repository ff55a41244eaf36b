import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;

/** A schema for each tenant: by setSchema, by the URL's currentSchema, or for the transaction. */
class Schema {
    public static void main(String[] args) {
        String url = System.getenv("JDBC_URL") + "&prepareThreshold=0" + (args[0].equals("url") ? "&currentSchema=tenant_b" : "");
        try (var c = DriverManager.getConnection(url)) {
            switch (args[0]) {
                case "setSchema" -> c.setSchema("tenant_b");
                case "correct" -> {
                    c.setAutoCommit(false);
                    try (var s = c.createStatement()) {
                        s.execute("set local search_path = tenant_b");
                    }
                }
                default -> { }
            }
            int n = count(c);
            if (args[0].equals("correct")) {
                c.commit();
            }
            if (n != 1) {
                System.out.println("wrong: " + n + " items, of another schema");
                System.exit(1);
            }
        } catch (SQLException e) {
            System.out.println("wrong: " + e.getMessage());
            System.exit(1);
        }
    }

    static int count(Connection c) throws SQLException {
        try (var s = c.createStatement(); var rows = s.executeQuery("select count(*) from item")) {
            rows.next();
            return rows.getInt(1);
        }
    }
}
