import pg from 'pg'

const { Client, Pool } = pg

async function main() {
  const client = new Client({ connectionString: process.env.DATABASE_URL })
  await client.connect()
  const { rows } = await client.query("select set_config('app.where', $1, false) as x", ['a']) // here
  console.log(rows, client.query.length, Object.keys(client).includes('query'))
  await client.end()
  const pool = new Pool({ connectionString: process.env.DATABASE_URL })
  const all = await Promise.all([1, 2].map((n) => pool.query({ text: "select set_config('app.pool', $1, false) as x", values: [n] }))) // there
  console.log(all.map((r) => r.rows[0].x))
  await pool.end()
}

main()
