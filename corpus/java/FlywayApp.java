import java.io.IOException;
import java.nio.file.Files;
import org.flywaydb.core.Flyway;
import org.flywaydb.database.postgresql.PostgreSQLConfigurationExtension;

/** Flyway: one migration, through the pooler or directly. */
class FlywayApp {
    public static void main(String[] args) throws IOException {
        var folder = Files.createTempDirectory(java.nio.file.Path.of(System.getenv("HOME")), "flyway");
        Files.writeString(folder.resolve("V1__made.sql"), "create table made (id int);");
        String url = System.getenv(args[0].equals("correct") ? "DIRECT_JDBC_URL" : "JDBC_URL") + (args[0].equals("default") ? "" : "&prepareThreshold=0");
        try {
            var config = Flyway.configure().dataSource(url, null, null).locations("filesystem:" + folder).baselineOnMigrate(true).baselineVersion("0");
            config.getConfigurationExtension(PostgreSQLConfigurationExtension.class).setTransactionalLock(!args[0].equals("lock"));
            config.load().migrate();
        } catch (RuntimeException e) {
            System.out.println("wrong: " + e.getMessage());
            System.exit(1);
        }
    }
}
