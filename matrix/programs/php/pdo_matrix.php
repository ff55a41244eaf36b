<?php
// PDO: a process is one client. By default PDO prepares every query under a name.
[, $work, $form] = $argv;
define('RECIPE', $form === 'recipe');
class Wrong extends Exception {}

function say(string $outcome, string $text = ''): void
{
    echo rtrim($outcome . ' ' . substr(preg_replace('/\s+/', ' ', $text), 0, 300)), "\n";
}

function expect(string $what, mixed $got, mixed $want): void
{
    if ($got !== $want) {
        throw new Wrong("$what is " . json_encode($got) . ', not ' . json_encode($want));
    }
}

function ask(PDO $c, string $sql, array $values = []): mixed
{
    $q = $c->prepare($sql);
    $q->execute($values);
    if ($q->columnCount() === 0) {
        return null;
    }
    $row = $q->fetch(PDO::FETCH_NUM);
    return $row === false ? null : (count($row) === 1 ? $row[0] : $row);
}

function statements(PDO $c, int $client, int $n): void
{
    [$tenant, $id, $op, $value] = ["tenant $client", $client + 16 * ($n % 10), "$client.$n", "value $client.$n"];
    $questions = [
        fn () => expect("the name of item $id", ask($c, 'select name from items where id = ?', [$id]), "item $id"),
        fn () => expect("the tenant of item $id", ask($c, 'select tenant from items where id = ?', [$id]), $tenant),
    ];
    // Every other client asks in the other order, as an application's requests do.
    foreach ($client % 2 ? array_reverse($questions) : $questions as $question) {
        $question();
    }
    ask($c, 'insert into written (tenant, op, value) values (?, ?, ?)', [$tenant, $op, $value]);
    expect('what was written', ask($c, 'select value from written where tenant = ? and op = ?', [$tenant, $op]), $value);
}

function settings(PDO $c, int $client, int $n): void
{
    $tenant = "tenant $client";
    if (!RECIPE) {
        $c->exec("SET app.tenant TO '$tenant'");
        scoped($c, $client, $n);
        return;
    }
    $c->beginTransaction();
    try {
        ask($c, "select set_config('app.tenant', ?, true)", [$tenant]);
        scoped($c, $client, $n);
        $c->commit();
    } catch (Throwable $e) {
        $c->rollBack();
        throw $e;
    }
}

function scoped(PDO $c, int $client, int $n): void
{
    [$tenant, $op, $value] = ["tenant $client", "$client.$n", "value $client.$n"];
    expect('what it sees of documents', ask($c, 'select count(*)::text, min(tenant), max(tenant) from documents'), ['10', $tenant, $tenant]);
    ask($c, 'insert into notes (op, value) values (?, ?)', [$op, $value]);
    expect('what was written', ask($c, 'select tenant, value from notes where op = ?', [$op]), [$tenant, $value]);
    expect('the setting', ask($c, "select current_setting('app.tenant', true)"), $tenant);
}

say('version', PHP_VERSION);
$dsn = sprintf('pgsql:host=%s;port=%s;dbname=%s;sslmode=disable', getenv('PGHOST'), getenv('PGPORT'), getenv('PGDATABASE'));
$options = [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION] + (RECIPE ? [PDO::ATTR_EMULATE_PREPARES => true] : []);
$c = null;
for ($n = 0; $n < (int) getenv('OPERATIONS'); $n++) {
    try {
        $c ??= new PDO($dsn, getenv('PGUSER'), getenv('PGPASSWORD'), $options);
        $work($c, (int) getenv('FIRST'), $n);
        say('right');
    } catch (Wrong $e) {
        say('wrong', $e->getMessage());
    } catch (Throwable $e) {
        say('error', $e->getMessage());
        if (preg_match('/server closed|no connection|terminating|prepared statement did not exist|SQLSTATE\[(08|57)/', $e->getMessage())) {
            $c = null; // closed: another one for the next operation
        }
    }
}
