// Reads the public API from src/index.ts: its exports under their headings, their declarations, and
// the types that the declarations lean on. npm run docs writes docs/reference/api.md and
// api-declarations.md from it; test/public-api.test.ts checks that no type is missing.

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const INDEX = fileURLToPath(new URL('../src/index.ts', import.meta.url));

export interface PublicExport {
  readonly name: string;
  /** The comment of src/index.ts that it stands below. */
  readonly heading: string;
  readonly kind: 'class' | 'function' | 'interface' | 'type';
  /** The doc comment as text, without tags; empty when there is none. */
  readonly summary: string;
  /** The declaration as in a .d.ts file, with doc comments. */
  readonly declaration: string;
  /** Names of types that the declaration refers to, other than its own type parameters. */
  readonly references: readonly string[];
}

/** Everything that src/index.ts exports, in its order. */
export function readPublicApi(): PublicExport[] {
  const index = parse(INDEX, readFileSync(INDEX, 'utf8'));
  const exports: PublicExport[] = [];
  let heading = '';
  for (const statement of index.statements) {
    heading = headingAbove(index, statement) ?? heading;
    if (
      !ts.isExportDeclaration(statement) ||
      statement.moduleSpecifier === undefined ||
      statement.exportClause === undefined ||
      !ts.isNamedExports(statement.exportClause)
    )
      throw new Error(
        `Expected only re-exports by name in ${INDEX}, found ${statement.getText()}.`,
      );
    const file = join(dirname(INDEX), (statement.moduleSpecifier as ts.StringLiteral).text);
    const declarations = declarationsOf(file);
    for (const { name, propertyName } of statement.exportClause.elements) {
      const declared = declarations.get((propertyName ?? name).text);
      if (declared === undefined || propertyName !== undefined)
        throw new Error(`Expected ${file} to declare "${name.text}" under this name.`);
      exports.push(describe(name.text, heading, declared));
    }
  }
  return exports;
}

/** The last line comment above a statement, when an empty line or a heading precedes it. */
function headingAbove(file: ts.SourceFile, statement: ts.Statement): string | undefined {
  const comments = ts.getLeadingCommentRanges(file.text, statement.getFullStart()) ?? [];
  const last = comments.at(-1);
  return last && file.text.slice(last.pos, last.end).replace(/^\/\/ */, '');
}

/** The exported declarations of a file by name, as its .d.ts file has them. */
function declarationsOf(path: string): Map<string, ts.DeclarationStatement> {
  const { outputText } = ts.transpileDeclaration(readFileSync(path, 'utf8'), {
    fileName: path,
    compilerOptions: { target: ts.ScriptTarget.ES2023, isolatedDeclarations: true },
  });
  const found = new Map<string, ts.DeclarationStatement>();
  for (const statement of parse(path, outputText).statements) {
    const isExported =
      ts.canHaveModifiers(statement) &&
      ts.getModifiers(statement)?.some(({ kind }) => kind === ts.SyntaxKind.ExportKeyword);
    if (isExported !== true) continue;
    if (
      ts.isClassDeclaration(statement) ||
      ts.isFunctionDeclaration(statement) ||
      ts.isInterfaceDeclaration(statement) ||
      ts.isTypeAliasDeclaration(statement)
    )
      found.set(statement.name!.text, statement);
  }
  return found;
}

function describe(name: string, heading: string, declared: ts.DeclarationStatement): PublicExport {
  const [doc] = ts.getJSDocCommentsAndTags(declared).filter(ts.isJSDoc);
  return {
    name,
    heading,
    kind: kindOf(declared),
    summary: (ts.getTextOfJSDocComment(doc?.comment) ?? '').replaceAll(/\s+/g, ' ').trim(),
    declaration: declared.getFullText().trim(),
    references: [...referencesOf(declared)].sort(),
  };
}

function kindOf(declared: ts.DeclarationStatement): PublicExport['kind'] {
  if (ts.isClassDeclaration(declared)) return 'class';
  if (ts.isFunctionDeclaration(declared)) return 'function';
  return ts.isInterfaceDeclaration(declared) ? 'interface' : 'type';
}

function referencesOf(declared: ts.Node): Set<string> {
  const references = new Set<string>();
  const parameters = new Set<string>();
  const visit = (node: ts.Node): void => {
    if (ts.isTypeParameterDeclaration(node)) parameters.add(node.name.text);
    if (ts.isTypeReferenceNode(node)) references.add(node.typeName.getText());
    if (ts.isExpressionWithTypeArguments(node)) references.add(node.expression.getText());
    if (ts.isImportTypeNode(node)) references.add(node.getText());
    // `typeof NAME` of a constant is its literal type, which readers of the reference cannot see.
    if (ts.isTypeQueryNode(node)) references.add(node.getText());
    ts.forEachChild(node, visit);
  };
  visit(declared);
  for (const parameter of parameters) references.delete(parameter);
  return references;
}

function parse(path: string, text: string): ts.SourceFile {
  return ts.createSourceFile(path, text, ts.ScriptTarget.ES2023, true);
}
