<?php
// The id of a row that was just inserted.
$u = parse_url(getenv('DATABASE_URL'));
$dsn = sprintf('pgsql:host=%s;port=%d;dbname=%s', $u['host'], $u['port'], substr($u['path'], 1));
$db = new PDO($dsn, $u['user'], $u['pass'] ?? '', [PDO::ATTR_EMULATE_PREPARES => true, PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION]);
$faults = 0;
for ($n = 1; $n <= 6; $n++) {
    $body = "note $n of " . getmypid();
    try {
        if ($argv[1] === 'faulty') {
            $db->prepare('insert into note (body) values (?)')->execute([$body]);
            $id = $db->lastInsertId();
        } else {
            $insert = $db->prepare('insert into note (body) values (?) returning id');
            $insert->execute([$body]);
            $id = $insert->fetchColumn();
        }
        $read = $db->prepare('select body from note where id = ?');
        $read->execute([$id]);
        $found = $read->fetchColumn();
    } catch (PDOException $e) {
        $found = $e->getMessage();
    }
    if ($found !== $body) {
        echo "wrong: $body is \"$found\"\n";
        $faults++;
    }
}
exit($faults ? 1 : 0);
