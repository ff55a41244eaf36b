import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;

/** Two connections, each with a PreparedStatement that it uses again and again; pgjdbc gives it a name at the fifth time. */
class Threshold {
    static int faults = 0;

    public static void main(String[] args) throws SQLException {
        String url = System.getenv("JDBC_URL") + (args[0].equals("correct") ? "&prepareThreshold=0" : "");
        try (var a = DriverManager.getConnection(url); var b = DriverManager.getConnection(url);
             var name = a.prepareStatement("select name from item where id = ?");
             var tenant = b.prepareStatement("select tenant from item where id = ?")) {
            for (int n = 1; n <= 12; n++) {
                ask(name, n, "item " + n);
                ask(tenant, n, "tenant " + n % 2);
            }
        }
        System.exit(faults > 0 ? 1 : 0);
    }

    static void ask(PreparedStatement statement, int n, String want) throws SQLException {
        String answer;
        statement.setInt(1, n);
        try (var rows = statement.executeQuery()) {
            answer = rows.next() ? rows.getString(1) : "nothing";
        } catch (SQLException e) {
            answer = e.getMessage();
        }
        if (!answer.equals(want)) {
            System.out.println("wrong: " + want + " is " + answer);
            faults++;
        }
    }
}
