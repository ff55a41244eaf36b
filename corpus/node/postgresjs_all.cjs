// postgres.js as its users write it: Promise.all over queries.
const postgres = require('postgres')

async function main (form) {
  const sql = postgres(process.env.DATABASE_URL, { max: 1, connect_timeout: 5, ...(form === 'correct' ? { prepare: false } : {}) })
  let faults = 0
  const ask = async n => {
    const answer = await sql`select name from item where id = ${n}`.then(r => r[0]?.name, e => e.message)
    if (answer !== `item ${n}`) {
      console.log(`wrong: item ${n} is ${answer}`)
      faults++
    }
  }
  for (let round = 0; round < 4; round++) {
    await Promise.all(Array.from({ length: 8 }, (_, n) => ask(n + 1)))
  }
  await sql.end({ timeout: 1 })
  return faults
}

// Behind a real pooler it hangs; a service would be restarted.
const form = process.argv[2]
const watchdog = setTimeout(() => { console.log('wrong: hangs'); process.exit(1) }, form === 'correct' ? 30_000 : 5000)
main(form).then(faults => { clearTimeout(watchdog); process.exitCode = faults ? 1 : 0 })
