// The overview: only the lamps, kept right by the service's own answers.

import { Client } from './api.js';
import { byId } from './dom.js';
import { Lamps } from './lamps.js';

const client = new Client(() => ({ token: '', tenant: '' }), () => {});
const lamps = new Lamps(byId('lamps'), client, ['API', 'Database', 'Pooler']);
byId('check').addEventListener('click', () => lamps.check());
lamps.check();
