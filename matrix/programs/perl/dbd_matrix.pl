# DBD::Pg: a process is one client.
use strict;
use warnings;
use DBI;
use DBD::Pg;

my ($work, $form) = @ARGV;
my $recipe = $form eq 'recipe';
my ($client, $operations) = @ENV{qw(FIRST OPERATIONS)};
my $tenant = "tenant $client";
$| = 1;

sub say_outcome { my ($outcome, $text) = @_; $text =~ s/\s+/ /g; print join(' ', $outcome, substr($text, 0, 300)) =~ s/\s+$//r, "\n" }

sub expect {
    my ($what, $got, $want) = @_;
    $got = defined $got ? join('|', map { $_ // 'null' } @$got) : 'nothing';
    die { wrong => "$what is $got, not $want" } if $got ne $want;
}

my ($c, $failed, %prepared);

# ask keeps its statements, as a program does that asks the same again and again.
sub ask {
    my ($sql, @values) = @_;
    my $q = $prepared{$sql} //= $c->prepare($sql);
    $q->execute(@values);
    return $q->{NUM_OF_FIELDS} ? $q->fetchall_arrayref->[0] : undef;
}

sub scoped {
    my ($n) = @_;
    expect('what it sees of documents', ask('select count(*), min(tenant), max(tenant) from documents'), "10|$tenant|$tenant");
    ask('insert into notes (op, value) values (?, ?)', "$client.$n", "value $client.$n");
    expect('what was written', ask('select tenant, value from notes where op = ?', "$client.$n"), "$tenant|value $client.$n");
    expect('the setting', ask(q{select current_setting('app.tenant', true)}), $tenant);
}

my %works = (
    statements => sub {
        my ($n) = @_;
        my $id = $client + 16 * ($n % 10);
        my @questions = (
            sub { expect("the name of item $id", ask('select name from items where id = ?', $id), "item $id") },
            sub { expect("the tenant of item $id", ask('select tenant from items where id = ?', $id), $tenant) },
        );
        # Every other client asks in the other order, as an application's requests do.
        $_->() for $client % 2 ? reverse @questions : @questions;
        ask('insert into written (tenant, op, value) values (?, ?, ?)', $tenant, "$client.$n", "value $client.$n");
        expect('what was written', ask('select value from written where tenant = ? and op = ?', $tenant, "$client.$n"), "value $client.$n");
    },
    settings => sub {
        my ($n) = @_;
        if (!$recipe) {
            $c->do("SET app.tenant TO '$tenant'");
            return scoped($n);
        }
        $c->begin_work;
        my $right = eval { ask(q{select set_config('app.tenant', ?, true)}, $tenant); scoped($n); $c->commit; 1 };
        return if $right;
        my $fault = $@;
        eval { $c->rollback };
        die $fault;
    },
);

say_outcome('version', $DBD::Pg::VERSION);
for my $n (0 .. $operations - 1) {
    my $right = eval {
        if (!$c || $failed && !$c->ping) {
            %prepared = ();
            $c = DBI->connect("dbi:Pg:dbname=$ENV{PGDATABASE};host=$ENV{PGHOST};port=$ENV{PGPORT};sslmode=disable", $ENV{PGUSER}, $ENV{PGPASSWORD},
                { RaiseError => 1, PrintError => 0, AutoCommit => 1, ($recipe ? (pg_server_prepare => 0) : ()) });
        }
        $works{$work}->($n);
        1;
    };
    my $fault = $@;
    if    ($right)      { say_outcome('right', '') }
    elsif (ref $fault)  { say_outcome('wrong', $fault->{wrong}) }
    else                { say_outcome('error', $fault) }
    $failed = !$right && !ref $fault;
}
