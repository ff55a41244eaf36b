package migrations

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ensureRuntimeRole makes the role where it is missing and refuses one that
// row-level security does not hold for. Roles belong to the whole server, and
// advisory locks to one database, so copies that work on different databases
// meet here without a lock: the second one's CREATE fails, and that is fine.
func ensureRuntimeRole(ctx context.Context, conn *pgconn.PgConn) error {
	_, err := simple(ctx, conn, `do $$
begin
    if not exists (select from pg_catalog.pg_roles where rolname = '`+RuntimeRole+`') then
        begin
            create role `+RuntimeRole+` nologin;
        exception when duplicate_object or unique_violation then
            null;
        end;
    end if;
    if exists (select from pg_catalog.pg_roles where rolname = '`+RuntimeRole+`' and (rolsuper or rolbypassrls)) then
        raise exception '% is a superuser or bypasses row-level security: take that away before you go on', '`+RuntimeRole+`';
    end if;
end
$$`)
	if err != nil {
		return fmt.Errorf("migrations: make the role %s: %w", RuntimeRole, err)
	}
	return nil
}

var loginName = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,62}$`)

func checkLoginName(name string) error {
	switch {
	case name == "":
		return nil
	case name == RuntimeRole:
		return fmt.Errorf("migrations: %s holds the grants and does not log in: choose another name for the login", name)
	case !loginName.MatchString(name):
		return fmt.Errorf("migrations: the login's name %q must start with a small letter or _ and hold only small letters, digits, _ and -", name)
	}
	return nil
}

// ensureLogin makes or updates the login and returns its URL. A transaction that it leaves idle ends after a minute, unless
// somebody gave the login another timeout. The server is sent
// a SCRAM verifier, never the password, so that no server log shows it.
func ensureLogin(ctx context.Context, conn *pgconn.PgConn, ownerURL, name string) (string, error) {
	if !strings.HasPrefix(ownerURL, "postgres://") && !strings.HasPrefix(ownerURL, "postgresql://") {
		return "", errors.New("migrations: the login's URL is made of the owner's: write that as postgres://user@host:port/database")
	}
	password := rand.Text()
	verifier, err := scramVerifier(password)
	if err != nil {
		return "", fmt.Errorf("migrations: make the login %s: %w", name, err)
	}
	ident := pgx.Identifier{name}.Sanitize()
	// The name has passed loginName and the verifier is base64, "$" and ":", so
	// neither can end a literal. Every branch names its attributes by hand:
	// ALTER ROLE must not mention SUPERUSER unless a superuser runs it.
	sql := fmt.Sprintf(`set transaction isolation level read committed, read write;
select pg_catalog.pg_advisory_xact_lock(%d);
do $login$
begin
    if current_user = '%s' then
        raise exception 'the role %s is the owner itself: choose another name';
    end if;
    if exists (select from pg_catalog.pg_roles where rolname = '%s' and (rolsuper or rolbypassrls)) then
        raise exception 'the role %s exists and is a superuser or bypasses row-level security: choose another name';
    end if;
    if not exists (select from pg_catalog.pg_roles where rolname = '%s') then
        begin
            create role %s login inherit password '%s';
        exception when duplicate_object or unique_violation then
            alter role %s login inherit password '%s';
        end;
    else
        alter role %s login inherit password '%s';
    end if;
    if not pg_catalog.pg_has_role('%s', '%s', 'usage') then
        grant %s to %s;
    end if;
    if not exists (select from pg_catalog.pg_db_role_setting s, pg_catalog.unnest(s.setconfig) c where s.setrole = '%s'::pg_catalog.regrole and c like 'idle_in_transaction_session_timeout=%%') then
        alter role %s set idle_in_transaction_session_timeout = '60s';
    end if;
end
$login$`, int64(lockKey), name, name, name, name, name, ident, verifier, ident, verifier, ident, verifier, name, RuntimeRole, RuntimeRole, ident, ident, ident)
	for attempt := 1; ; attempt++ {
		_, err = simple(ctx, conn, sql)
		// Two databases' copies changing one role at once: the server refuses
		// the second instead of making it wait, or has not yet shown it the role
		// that the first has just made (42704).
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && attempt < 20 &&
			(pg.Code == "XX000" && strings.Contains(pg.Message, "concurrently") || pg.Code == "23505" || pg.Code == "42704") {
			continue
		}
		break
	}
	if err != nil {
		return "", fmt.Errorf("migrations: make the login %s: %w", name, err)
	}
	return loginURL(ownerURL, name, password)
}

// loginURL is the owner's URL with another name and password, and everything
// else as it stands.
func loginURL(owner, name, password string) (string, error) {
	u, err := url.Parse(owner)
	if err != nil {
		return "", errors.New("migrations: the owner's URL cannot be parsed, so the login's cannot be made of it")
	}
	u.User = url.UserPassword(name, password)
	q := u.Query()
	q.Del("user")
	q.Del("password")
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// scramVerifier is what PostgreSQL stores of a password (RFC 5803, with
// PostgreSQL's default of 4096 iterations). The password is plain ASCII, for
// which SASLprep changes nothing.
func scramVerifier(password string) (string, error) {
	const iterations = 4096
	salt := make([]byte, 16)
	rand.Read(salt)
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return "", fmt.Errorf("derive the SCRAM key: %w", err)
	}
	clientKey := mac(salted, "Client Key")
	storedKey := sha256.Sum256(clientKey)
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(storedKey[:]), b64(mac(salted, "Server Key"))), nil
}

func mac(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}
