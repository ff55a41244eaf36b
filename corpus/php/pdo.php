<?php
// A statement that is prepared once and executed in a loop.
$u = parse_url(getenv('DATABASE_URL'));
$dsn = sprintf('pgsql:host=%s;port=%d;dbname=%s', $u['host'], $u['port'], substr($u['path'], 1));
$db = new PDO($dsn, $u['user'], $u['pass'] ?? '', [
    PDO::ATTR_EMULATE_PREPARES => $argv[1] === 'correct',
    PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
]);
$faults = 0;
$find = $db->prepare('select name from item where id = ?');
for ($n = 1; $n <= 6; $n++) {
    try {
        $find->execute([$n]);
        $name = $find->fetchColumn();
    } catch (PDOException $e) {
        $name = $e->getMessage();
    }
    if ($name !== "item $n") {
        echo "wrong: item $n is $name\n";
        $faults++;
    }
}
exit($faults ? 1 : 0);
