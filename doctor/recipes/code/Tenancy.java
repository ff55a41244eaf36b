import java.util.Properties;
import java.util.UUID;
import java.util.function.Function;
import org.hibernate.Session;
import org.hibernate.SessionFactory;

/** Hibernate on pgjdbc: what a function does works for one tenant, in one transaction. */
final class Tenancy {
    private Tenancy() {}

    /** What Hibernate is told beside the URL; with HikariCP it is dataSource.prepareThreshold. */
    static Properties settings() {
        var settings = new Properties();
        settings.setProperty("hibernate.connection.prepareThreshold", "0"); // [untracked]
        settings.setProperty("hibernate.connection.pool_size", "8");
        return settings;
    }

    /** Tenancy.in(factory, tenant, session -> session.find(Item.class, id)) */
    static <R> R in(SessionFactory factory, UUID tenant, Function<Session, R> work) {
        return factory.fromTransaction(session -> {
            session.createNativeQuery("select set_config('app.tenant', :tenant, true)", String.class)
                .setParameter("tenant", tenant.toString())
                .getSingleResult();
            return work.apply(session);
        });
    }
}
