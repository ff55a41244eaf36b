const postgres = require('postgres')

async function main() {
  const sql = postgres(process.env.DATABASE_URL, { max: 1, prepare: false })
  const rows = await sql`select set_config('app.where', ${'a'}, false) as x` // here
  console.log(rows, rows.statement.string)
  const nested = sql`set_config('app.nested', ${'b'}, false) as x`
  console.log([...(await sql`select ${nested}`)]) // there
  await sql.end()
}

main()
