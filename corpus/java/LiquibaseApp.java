import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.DriverManager;
import java.util.logging.Level;
import java.util.logging.Logger;
import liquibase.database.DatabaseFactory;
import liquibase.database.jvm.JdbcConnection;

/** Liquibase: one change, through the pooler or directly. */
class LiquibaseApp {
    public static void main(String[] args) throws IOException {
        Logger.getLogger("").setLevel(Level.OFF);
        var folder = Files.createTempDirectory(Path.of(System.getenv("HOME")), "liquibase");
        Files.writeString(folder.resolve("changes.sql"), "--liquibase formatted sql\n--changeset corpus:1\ncreate table made (id int);\n");
        String url = System.getenv(args[0].equals("correct") ? "DIRECT_JDBC_URL" : "JDBC_URL") + (args[0].equals("unprepared") ? "&prepareThreshold=0" : "");
        try (var c = DriverManager.getConnection(url)) {
            var database = DatabaseFactory.getInstance().findCorrectDatabaseImplementation(new JdbcConnection(c));
            var accessor = new liquibase.resource.DirectoryResourceAccessor(folder);
            new liquibase.Liquibase("changes.sql", accessor, database).update("");
        } catch (Exception e) {
            System.out.println("wrong: " + e.getMessage());
            System.exit(1);
        }
    }
}
