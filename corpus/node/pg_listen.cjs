// Waits for news while another connection tells some.
const { Client } = require('pg')

async function main (form) {
  const listener = new Client(form === 'faulty' ? process.env.DATABASE_URL : process.env.DIRECT_URL)
  const teller = new Client(process.env.DATABASE_URL)
  await listener.connect()
  await teller.connect()
  const news = new Promise(resolve => {
    listener.on('notification', m => resolve(m.payload))
    setTimeout(resolve, form === 'faulty' ? 700 : 20_000, 'nothing').unref()
  })
  await listener.query('listen news')
  await teller.query("select pg_notify('news', $1)", ['for the listener'])
  const heard = await news
  await listener.end()
  await teller.end()
  return heard
}

main(process.argv[2]).then(heard => {
  if (heard !== 'for the listener') console.log(`wrong: heard ${heard}`)
  process.exitCode = heard === 'for the listener' ? 0 : 1
})
