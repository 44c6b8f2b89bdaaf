import type { NetworkKind } from '../core/index.ts';

/**
 * Organisations whose autonomous systems are known and whose name does not always say what they are. Numbers as registered
 * with the regional registries in 2026; short on purpose, the large ones of each kind: names tell most others.
 */
const KNOWN: readonly (readonly [NetworkKind, string, ...number[]])[] = [
  ['hosting', 'Amazon', 16509, 14618, 8987],
  ['hosting', 'Microsoft', 8075, 8068],
  ['hosting', 'Google', 15169, 396982, 19527, 36040],
  ['hosting', 'Cloudflare', 13335, 209242, 395747],
  ['hosting', 'DigitalOcean', 14061, 393406, 200130, 202018],
  ['hosting', 'Akamai and Linode', 63949, 20940, 16625],
  ['hosting', 'Fastly', 54113],
  ['hosting', 'Vultr', 20473],
  ['hosting', 'Hetzner', 24940, 213230, 212317],
  ['hosting', 'OVH', 16276, 35540],
  ['hosting', 'Scaleway', 12876],
  ['hosting', 'Contabo', 51167],
  ['hosting', 'netcup', 197540],
  ['hosting', 'IONOS', 8560],
  ['hosting', 'Hostinger', 47583],
  ['hosting', 'Oracle', 31898],
  ['hosting', 'IBM Cloud', 36351],
  ['hosting', 'Alibaba', 45102, 37963],
  ['hosting', 'Tencent', 132203, 45090],
  ['hosting', 'Huawei Cloud', 136907, 55990],
  ['hosting', 'Leaseweb', 60781, 28753, 30633, 395954, 7203, 19148],
  ['hosting', 'M247', 9009],
  ['hosting', 'DataCamp', 60068, 212238],
  ['hosting', 'ColoCrossing', 36352],
  ['hosting', 'FranTech', 53667],
  ['hosting', 'GoDaddy', 26496],
  ['hosting', 'Bluehost', 46606],
  ['hosting', 'Rackspace', 33070, 27357, 19994],
  ['hosting', 'Liquid Web', 32244],
  ['hosting', 'QuadraNet', 8100],
  ['hosting', 'Hivelocity', 29802],
  ['hosting', 'Equinix Metal', 54825],
  ['hosting', 'Latitude.sh', 396356],
  ['hosting', '31173 Services', 39351],
  ['hosting', 'Selectel', 49505],
  ['hosting', 'Timeweb', 9123],
  ['hosting', 'Yandex Cloud', 200350],
  ['hosting', 'GitHub', 36459],
  ['mobile', 'T-Mobile US', 21928],
  ['mobile', 'Verizon Wireless', 6167, 22394],
  ['mobile', 'AT&T Mobility', 20057],
  ['mobile', 'Sprint', 10507],
  ['mobile', 'Reliance Jio', 55836],
  ['mobile', 'Bharti Airtel', 45609],
  ['mobile', 'NTT Docomo', 9605],
  ['mobile', 'Free Mobile', 51207],
  ['mobile', 'Three UK', 206067, 60339],
  // A terminal of a satellite network may be anywhere, as a phone may.
  ['mobile', 'Starlink', 14593],
  ['mobile', 'Intelsat', 22351],
  ['mobile', 'Viasat', 7155],
  ['mobile', 'Hughes', 6621],
  ['vpn', 'Proton', 62371, 209103],
  ['vpn', 'NordVPN', 136787, 147049, 207137],
  // Gateways of companies' people, wherever those are.
  ['vpn', 'Zscaler', 22616, 53813, 62044],
  ['vpn', 'Netskope', 55256],
  ['relay', "Akamai's part of Private Relay", 36183],
];

const BY_NUMBER = new Map(KNOWN.flatMap(([kind, , ...numbers]) => numbers.map((number) => [number, kind] as const)));

/** Words of names, the first that fits decides. Whole words, so that "Ghosts" is no host. */
const WORDS: readonly (readonly [NetworkKind, RegExp])[] = [
  ['vpn', /\bvpns?\b/],
  ['relay', /\b(tor exit|private relay)\b/],
  ['hosting', /\b(web|cloud|data)?host(ing|er|ers|s)?\b|\bhosting/],
  [
    'hosting',
    /\b(clouds?|vps|servers?|datacent(er|re)s?|data cent(er|re)s?|rechenzentrum|colo|colocation|dedicated|cdn)\b/,
  ],
  ['mobile', /\b(mobile|mobiles|mobility|mobil|movil|moviles|movistar|cellular|cellco|gsm|lte|5g|pcs|satellite)\b/],
  [
    'business',
    /\b(university|universitaet|universidad|universite|universita|universiteit|college|hochschule|school|institute|academy)\b/,
  ],
  ['business', /\b(bank|bancorp|insurance|ministry|government|department|county|hospital|clinic|library|airlines?)\b/],
];

/**
 * networkKindOf tells the kind of a network by its autonomous system: a short list of well-known numbers, else words in the
 * name of the organisation; '' when neither says anything, which is what most access providers are. `asn` 0: not known.
 */
export function networkKindOf(asn: number, organisation: string): NetworkKind | '' {
  const known = BY_NUMBER.get(asn);
  if (known !== undefined) return known;
  if (organisation === '') return '';
  const name = organisation
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, ' ');
  return WORDS.find(([, words]) => words.test(name))?.[0] ?? '';
}
