import java.net.URI;

/** What a Java program outside this folder is given: the parts of DATABASE_URL, and how it says that it was served wrong. */
class U {
    String host, db, user, pw;
    int port;

    U() {
        var url = URI.create(System.getenv("DATABASE_URL"));
        host = url.getHost();
        port = url.getPort();
        db = url.getPath().substring(1);
        var login = url.getUserInfo().split(":", 2);
        user = login[0];
        pw = login.length > 1 ? login[1] : "";
    }

    static void fail(Object why) {
        System.out.println("WRONG " + why);
        System.exit(1);
    }

    static Throwable root(Throwable t) {
        return t.getCause() == null ? t : root(t.getCause());
    }
}
