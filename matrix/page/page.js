
'use strict'
const data = JSON.parse(document.getElementById('data').textContent)
const byId = id => document.getElementById(id)
const driver = byId('driver')
const way = byId('way')
const dialog = byId('detail')

// On a phone one pooler's column fits beside the drivers: begin with the one that most people have.
if (matchMedia('(max-width: 640px)').matches && way.querySelector('[value="pgbouncer-1.18-transaction"]')) way.value = 'pgbouncer-1.18-transaction'

function filter () {
  for (const row of document.querySelectorAll('tbody tr[data-driver]')) {
    const language = driver.value.startsWith('language:') && driver.value.slice('language:'.length)
    row.classList.toggle('hide', language ? row.dataset.language !== language : driver.value !== '' && row.dataset.driver !== driver.value)
  }
  for (const cell of document.querySelectorAll('[data-way]')) cell.classList.toggle('hide', way.value !== '' && cell.dataset.way !== way.value)
  const work = document.querySelector('input[name=work]:checked').value
  for (const half of document.querySelectorAll('button[data-cell] .v')) {
    const verdict = half.dataset[work]
    half.className = 'v ' + verdict + (half.classList.contains('doc') ? ' doc' : '')
    half.textContent = verdict || '·'
  }
}

// element makes an element of texts and elements; no text is ever read as HTML.
function element (name, className, ...children) {
  const e = document.createElement(name)
  if (className) e.className = className
  e.append(...children)
  return e
}

const works = { statements: 'statements', settings: 'tenant by a setting' }

function show (id) {
  const d = data.cells[id]
  byId('detail-title').textContent = `${d.driver} ${d.version} through ${d.way}`
  const body = byId('detail-body')
  body.replaceChildren()
  const head = element('tr', '')
  for (const title of ['work', 'form', 'came to', 'right', 'errors', 'hung', 'wrong', 'seconds']) {
    const th = element('th', '', title)
    th.scope = 'col'
    head.append(th)
  }
  const rows = d.cells.map(c => {
    const numbers = c.basis === 'measured' ? [c.right, c.errors, c.hung, c.wrong, c.seconds ?? 0] : ['', '', '', '', '']
    return element('tr', '', element('td', '', works[c.work]), element('td', '', c.form),
      element('td', '', element('span', 'v ' + c.verdict + (c.basis === 'documented' ? ' doc' : ''), c.verdict)),
      ...numbers.map(n => element('td', 'n', String(n))))
  })
  const numbers = element('div', 'wide', element('table', 'numbers', element('thead', '', head), element('tbody', '', ...rows)))
  numbers.tabIndex = 0
  body.append(numbers)
  for (const c of d.cells) {
    const about = `${works[c.work]}, ${c.form}`
    if (c.first_wrong) body.append(element('p', '', element('b', '', `First wrong answer (${about}): `), c.first_wrong))
    if (c.first_error) body.append(element('p', '', element('b', '', `First error (${about}): `), c.first_error))
    if (c.found) body.append(element('p', '', element('b', '', `prove found (${about}): `), c.found.join(', ') + '; poolproof explain ' + c.found[0]))
    if (c.source) body.append(element('p', '', element('b', '', `Documented (${about}): `), c.source))
  }
  const measured = [...new Set(d.cells.map(c => c.basis + ' ' + c.date + ', ' + c.place))]
  body.append(element('p', '', measured.join('; ') + '.'))
  const fixes = new Map(d.cells.filter(c => c.fix).map(c => [c.work, c.fix]))
  if (fixes.size) {
    body.append(element('h3', '', 'The fix'))
    for (const [work, fix] of fixes) body.append(element('p', '', element('b', '', works[work] + ': '), fix))
  }
  const pre = element('pre', '', data.programs[d.program])
  pre.tabIndex = 0
  body.append(element('h3', '', 'The program, matrix/programs/' + d.program), pre)
  dialog.showModal()
  dialog.scrollTop = 0
}

driver.addEventListener('change', filter)
way.addEventListener('change', filter)
for (const input of document.querySelectorAll('input[name=work]')) input.addEventListener('change', filter)
document.querySelector('main').addEventListener('click', event => {
  const button = event.target.closest('button[data-cell]')
  if (button) show(button.dataset.cell)
})
dialog.addEventListener('click', event => { if (event.target === dialog) dialog.close() })
filter()
