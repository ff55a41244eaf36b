import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;

/** A schema for each tenant: by setSchema, by the URL's currentSchema, or for the transaction; and a time limit in options. */
class Schema {
    public static void main(String[] args) {
        String url = System.getenv("JDBC_URL") + "&prepareThreshold=0" + switch (args[0]) {
            case "url" -> "&currentSchema=tenant_b";
            case "options" -> "&options=-c%20statement_timeout=5000";
            default -> "";
        };
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
            if (n != (args[0].equals("options") ? 500 : 1)) {
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
