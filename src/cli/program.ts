// The tandem program: one command for each job, in the groups of `tandem --help`. The code of a
// command is loaded only when the command is named, so `tandem serve` never loads tfjs.

import { Command } from 'commander';
import { packageVersion } from '../version.ts';

type LoadCommand = () => Promise<Command>;

const GROUPS: Readonly<Record<string, Readonly<Record<string, LoadCommand>>>> = {
  'Data:': {
    import: async () => (await import('./import.ts')).importCommand(),
    world: async () => (await import('./world.ts')).worldCommand(),
  },
  'Models:': {
    train: async () => (await import('./train.ts')).trainCommand(),
    evaluate: async () => (await import('./evaluate.ts')).evaluateCommand(),
    experiment: async () => (await import('./experiment.ts')).experimentCommand(),
    survival: async () => (await import('./survival.ts')).survivalCommand(),
  },
  'Bundles and user states:': {
    publish: async () => (await import('./publish.ts')).publishCommand(),
    encode: async () => (await import('./encode.ts')).encodeCommand(),
    activate: async () => (await import('./activate.ts')).activateCommand(),
    rollback: async () => (await import('./activate.ts')).rollbackCommand(),
    inspect: async () => (await import('./inspect.ts')).inspectCommand(),
    verify: async () => (await import('./verify.ts')).verifyCommand(),
  },
  'Server:': {
    serve: async () => (await import('./serve.ts')).serveCommand(),
    supervise: async () => (await import('./supervise.ts')).superviseCommand(),
    config: async () => (await import('./config.ts')).configCommand(),
    keys: async () => (await import('./keys.ts')).keysCommand(),
    items: async () => (await import('./items.ts')).itemsCommand(),
  },
  'Getting started:': {
    demo: async () => (await import('./demo/demo.ts')).demoCommand(),
    doctor: async () => (await import('./doctor.ts')).doctorCommand(),
  },
};

/**
 * Builds the program.
 *
 * @param named - first word of the command line. When it names a command, only that command is
 *   loaded; otherwise all commands are, e.g. for --help.
 */
export async function loadProgram(named?: string): Promise<Command> {
  const program = new Command('tandem')
    .description(
      'Candidate generator: trains, evaluates, publishes and serves a contextual two-tower model.',
    )
    .version(packageVersion(), '-V, --version', 'print the version');
  const isKnown = Object.values(GROUPS).some(
    (commands) => named !== undefined && Object.hasOwn(commands, named),
  );
  for (const [heading, commands] of Object.entries(GROUPS))
    for (const [name, load] of Object.entries(commands))
      if (!isKnown || name === named) program.addCommand((await load()).helpGroup(heading));
  return program;
}
