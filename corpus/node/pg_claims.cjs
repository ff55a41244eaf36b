// Rows of whoever the token names. The query knows an old and a new name for the claims, and the program sets the new one.
const { Pool } = require('pg')

const correct = process.argv[2] === 'correct'
const mine = `select count(*)::int as n, min(tenant) as tenant from item
  where tenant = coalesce(nullif(current_setting('jwt.sub', true), ''), nullif(current_setting('jwt.claims', true), '')::jsonb ->> 'sub')`

async function request(pool, sub) {
  const client = await pool.connect()
  const claims = JSON.stringify({ sub })
  try {
    if (correct) await client.query('begin')
    await client.query("select set_config('jwt.claims', $1, $2)", [claims, correct])
    const { rows } = await client.query(mine)
    if (correct) await client.query('commit')
    if (rows[0].n !== 250 || rows[0].tenant !== sub) throw new Error(`wrong: ${sub} sees ${rows[0].n} rows of ${rows[0].tenant}`)
  } finally {
    client.release()
  }
}

async function main() {
  const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 3 })
  for (let i = 0; i < 4; i++) await Promise.all(['tenant 0', 'tenant 1'].map((sub) => request(pool, sub)))
  await pool.end()
}

main().catch((err) => {
  console.log(err.message)
  process.exit(1)
})
